// Package zerocopy runs the server on AF_XDP with zero-copy, which no software interface of a kernel has. It uses two
// NICs that QEMU emulates, virtio-net with one queue and igb with two. They are in a VM with a kernel that supports
// both. It needs no KVM.
//
//	 VM                                              QEMU's hub
//	┌──────────────────────────────────────────┐    ┌─────────┐
//	│ ringcast                            nic0 ├────┤         │
//	│                                   spare0 ├────┤         │   nic0    the NIC under test
//	│ ┌ namespace "client" ────────────┐       │    │         │   spare0  virtio-net that cannot do zero-copy
//	│ │ ringbench publish, watch peer0 ├───────┼────┤         │   peer0   virtio-net
//	│ └────────────────────────────────┘       │    └─────────┘
//	└──────────────────────────────────────────┘
//
// The hub is QEMU's own and reaches no network. 198.18.0.1 is the server's address, 198.18.0.2 the client's.
//
// # Packages
//
// QEMU and the kernel are Debian's packages, downloaded by apt-get into os.UserCacheDir()/ringcast/zerocopy and
// unpacked there, about 170 MB, with their sums. apt-get has sources and a state of its own; the host's stay as they
// are, and nothing is installed. Remove the directory to get what Debian has today. Where packages cannot be had, the
// tests are skipped and name the capability zerocopy-vm.
//
// # How a scene runs
//
// TestZeroCopy has a subtest for each NIC, and that one for each scene. On the host a NIC's subtest makes an initramfs
// and boots a VM. The VM's /init is this package's test binary, which runs the same subtest there and prints to a
// serial line. The host reads that, and a scene passes if it passed in the VM.
//
// Nothing depends on how fast the host is. The VM's clock counts instructions (QEMU's icount) and skips idle time.
// A busy host slows down all that is in the VM, its clock included. Each VM uses one core for two to four minutes.
package zerocopy
