// Package systemd sends the service's states to systemd and feeds its watchdog.
package systemd
