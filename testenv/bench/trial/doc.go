// Package trial measures what a WHIP/WHEP server costs, in a lab of its own on one machine.
package trial
