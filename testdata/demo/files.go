// Package demo holds the configurations of the demo, so that the binary alone can run it.
package demo

import "embed"

// Files are lb1.conf and lb2.conf.
//
//go:embed *.conf
var Files embed.FS
