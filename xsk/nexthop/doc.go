// Package nexthop knows to which hardware address a datagram goes next, which the kernel knows and
// AF_XDP does not ask. It follows the kernel's links, routes and neighbours over netlink and answers from
// a snapshot of them.
package nexthop
