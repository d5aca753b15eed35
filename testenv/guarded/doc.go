// Package guarded is memory for tests of code that must touch nothing outside of its arguments.
package guarded
