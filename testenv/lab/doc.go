// Package lab is a network of hosts in one machine: network namespaces and cables between them. The machine's own
// network is out of reach. Tests of the AF_XDP port and ringbench run in it.
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
// built from a Lab with AddHost and Connect. A cable is a veth pair, both ends created inside, with as many
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
// # Far apart
//
// Lab.Internet joins any number of hosts. Each way of each pair has a path of package netpath in real time: delay,
// loss, a rate, or a cut. This process carries the packets between TUN devices, so AF_XDP is not for it. It reports how
// late it was (Internet.Lateness).
//
//	net, err := l.Internet()
//	err = net.Connect(lab.End{Host: origin, Name: "eth0", Addrs: …})
//	…
//	net.Set(origin, edge, &netpath.Delay{Of: netpath.Always(0.1)})
//	net.Cut(edge, origin)
//
// # Threads and namespaces
//
// A network namespace belongs to a thread, and Go moves goroutines between threads. So:
//
//   - Host.Start and Host.Run start commands there, from a thread that serves for nothing else. It stays on
//     the host, has a /sys with the host's devices, and waits for the command, which dies with it.
//   - Func runs Go code there: a registered function runs in a new process of this binary. Code that
//     attaches XDP, opens AF_XDP sockets or has goroutines belongs there.
//   - Host.Dial, Client, ListenUDP and Netlink open a socket there for use here: a socket stays in the
//     namespace that it was opened in. Host.Enter does the same for other short work.
//
// # Cleaning up
//
// Lab.Close ends the processes that still run, reports them, and removes the namespaces. Cables, addresses, routes,
// sysctls and attached programs go with them. Sysctls are set only inside namespaces; programs are held only by links,
// which are this process's descriptors. Namespaces are named rc-lab-PID-START-N-HOST after their owner and its start
// time. So Open can remove those of dead owners, and the processes in them.
//
// # Measuring
//
// Bench alternates contenders that send over one cable. It counts at the far end (Device.Sink), since a sender does not
// learn of losses in a full ring. The first contender is the C floor (floor/floor.c), the least cost on this machine at
// this moment. ReadUsage reads the time of a process, of the kernel's threads of a core, and of a device's NAPI
// threads. Device.Threaded moves receive work to a core of its own. Without it, the receiver's work runs in the
// sender's context, at the sender's cost.
//
// Everything here is safe for several goroutines unless its comment says otherwise. The package is empty except on
// Linux.
package lab
