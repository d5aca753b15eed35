// Package lab is a network of hosts in one machine: network namespaces and the cables between them, with
// nothing of the machine's own network in reach. Tests of the AF_XDP port and ringbench run in it.
//
//	 namespace "server"        namespace "router"          namespace "client"
//	┌──────────────────┐     ┌────────────────────┐      ┌──────────────────┐
//	│ ringcast, core 0 │     │ forwards both      │      │ viewers, core 1  │
//	│             eth0 ├─────┤ south        north ├──────┤ eth0             │
//	└──────────────────┘     └────────────────────┘      └──────────────────┘
//	   198.18.1.2/24           198.18.1.1  198.18.2.1       198.18.2.2/24
//	   fd00:1::2/64            fd00:1::1   fd00:2::1        fd00:2::2/64
//	                             ▲ faults: Device.Egress, Device.Ingress (fault.c)
//
// That is Routed; Pair is two hosts and one cable (198.18.0.1 and .2, fd00::1 and ::2). Other networks are
// built from a Lab with AddHost and Connect. A cable is a veth pair, both ends born inside, with as many
// queues each way as asked for.
//
//	l, err := lab.Open(log)
//	defer l.Close()
//	server, router, client, err := l.Routed(lab.Link{Queues: 2})
//	s, err := server.StartServer(ctx, []int{0}, exec.Command("bin/ringcast", "--io", "xdp", "--interface", "eth0"))
//	…
//	fault, err := router.Device("north").Egress(lab.Fault{Port: 7000, DropEvery: 100})
//	…
//	counts, err := fault.Counts() // {Seen, Dropped, Duplicated}
//
// # What runs where
//
// A network namespace belongs to a thread, and Go moves goroutines between threads. So:
//
//   - Host.Start and Host.Run start commands there, from a thread that is spent on it: it has moved for
//     good, has a /sys that shows the host's devices, and waits for the command, which dies with it.
//   - Func runs Go code there: a function registered by name runs in this binary started anew. Code that
//     attaches XDP, opens AF_XDP sockets or has goroutines belongs there.
//   - Host.Dial, Client, ListenUDP and Netlink open a socket there and use it here: a socket stays in the
//     namespace that it was opened in. Host.Enter does the same for other short work.
//
// # Nothing is left behind
//
// Lab.Close ends what still runs, says so, and removes the namespaces, which takes cables, addresses, routes,
// sysctls and attached programs along: sysctls are set inside namespaces only, and programs are held by
// links, which are this process's descriptors; nothing is pinned. Namespaces are named rc-lab-PID-START-N-HOST
// after their owner and the time it started, so that Open can remove those of owners that are gone, with what
// they left running.
//
// # Measuring
//
// Bench alternates contenders that send over one cable, and counts at the far end (Device.Sink): a sender does
// not learn what a full ring has lost. The first contender is the C floor (floor/floor.c):
// what this machine can do at this very moment. CPU reads what a process, the kernel's threads of a core and a
// device's NAPI threads have used. Device.Threaded moves receive work to a core of its own; without it,
// the receiver's work runs in the sender's context and is charged to the sender.
//
// Everything here is safe to use from several goroutines unless it says otherwise. The package is empty but on
// Linux.
package lab
