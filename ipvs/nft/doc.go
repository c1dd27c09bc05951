// Package nft is a data plane made of nftables rules, for kernels without IPVS: virtual services that translate the destination
// of new connections (NAT) and leave the rest to connection tracking, which keeps established connections on their server
// whatever happens to the table.
//
// Everything is in one table of the inet family, named releve; other tables are not touched. Its layout:
//
//	map addr4, addr6        address . protocol . port → goto the service's chain
//	map all4, all6          address . protocol → the same for services without a port
//	map mark4, mark6        firewall mark . protocol → the same for services by mark
//	chain tcp-10.0.0.1-80   the service: its known clients if it is persistent, then the scheduler:
//	                        numgen or jhash over a map of slots, each of which goes to a destination's chain
//	chain tcp-10.0.0.1-80/10.1.0.1-80
//	                        a destination: counters of connections, then dnat
//	set services-in4, ...   packets and bytes of translated connections, by service and by destination
//
// Packets reach these chains at the hooks prerouting and output with the priority of destination NAT: services by mark always,
// services by address when that address is local, as IPVS has it in prerouting; a backup director that merely forwards (or
// connects to) the address of the master is not in the way. Source addresses are kept (LVS-NAT): answers must pass through the
// director, where connection tracking turns them back.
//
// The table is the whole memory of the plane: weights and options stand in comments of rules. A new Plane reads what its
// predecessor left and goes on. Every Apply is one transaction for all it changes; where the kernel refuses it, services and
// then single writes are tried alone, so that one failure does not hold up the rest.
package nft
