// Package logging writes log records as the settings say, through a queue that no reader of the log can hold up.
package logging
