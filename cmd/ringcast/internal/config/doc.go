// Package config makes one Config of all settings. They come from four sources, each stronger than the one before: the
// defaults, a YAML file, the environment, flags. The table in settings.go drives all of them and --help. A key that no
// setting has is refused, with the nearest one named.
package config
