// Package lab builds small networks out of network namespaces, runs daemons, web servers and clients in them, breaks them on
// purpose and measures what a client sees.
//
// A Host is a pair of namespaces (network and mounts, with a /run of its own) that belongs to a thread of this process. Nothing
// has a name outside: when the process ends, however it ends, namespaces, links and addresses are gone, and the processes that
// were started in the hosts get a signal. What could survive that (grandchildren of a killed process) carries a mark in its
// environment by which Sweep finds it.
package lab
