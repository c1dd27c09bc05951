// Package confparse reads keepalived.conf: text becomes an expanded source (includes, conditions, parameters, sequences), the
// source becomes a tree of statements, keyword tables turn the tree into the checked Config of the domain packages. Every word
// keeps the place it was written at.
package confparse

// Pos is a place in a source: a line and a column of an origin. The zero Pos is no place. Lines count from 1; columns count
// bytes from 1. Name, include chain and text of the line come from the Source that holds the origin.
type Pos struct {
	Origin int32
	Line   int32
	Col    int32
}

// IsValid reports whether p is a place.
func (p Pos) IsValid() bool { return p.Line > 0 }
