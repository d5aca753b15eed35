// Package host tells what this machine and its network interface can do for AF_XDP, and decides by it
// which rung of the ladder the engine takes.
package host
