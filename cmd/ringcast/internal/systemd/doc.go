// Package systemd takes the sockets that systemd opened, sends it the service's states, and feeds its watchdog.
package systemd
