/* How lwIP is built here: one thread, one interface, static addresses, memory from malloc(). What the
 * pools would bound is bounded by connection.c, datagram.c and the limits below.
 */
#ifndef WGVX_STACK_LWIPOPTS_H
#define WGVX_STACK_LWIPOPTS_H

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_SINGLE_NETIF 1
#define LWIP_HOOK_FILENAME "hooks.h"

#define MEM_LIBC_MALLOC 1
#define MEMP_MEM_MALLOC 1
#define MEM_ALIGNMENT 8
#define MEM_SIZE 1
#define LWIP_STATS 0

/* Frames. */
#define ETH_PAD_SIZE 0
#define ARP_TABLE_SIZE 127
#define ARP_QUEUEING 1 /* a datagram in fragments waits as a whole */
#define ARP_QUEUE_LEN 16
#define LWIP_NETIF_HWADDRHINT 1
#define LWIP_CHECKSUM_CTRL_PER_NETIF 0

/* IP. */
#define LWIP_IPV4 1
#define LWIP_IPV6 1
#define IP_FORWARD 0
#define IP_REASSEMBLY 1
#define IP_REASS_MAX_PBUFS 64 /* of both families each */
#define IP_REASS_MAXAGE 15
#define IPV6_REASS_MAXAGE 15
#define MEMP_NUM_REASSDATA 16
#define IP_FRAG 1
#define IPV6_FRAG_COPYHEADER 1 /* a pointer is larger than the header that it would be kept in */
#define LWIP_ICMP 1
#define LWIP_ICMP6 1
#define LWIP_MULTICAST_PING 0
#define LWIP_BROADCAST_PING 0
#define LWIP_DHCP 0
#define LWIP_AUTOIP 0
#define LWIP_IGMP 0
#define LWIP_DNS 0
#define LWIP_RAW 0

/* IPv6 addresses are configured, not told by routers. Infinite lifetimes, unlike static ones, imply no
 * /64: which destinations are neighbours is the hook's to say. */
#define LWIP_IPV6_NUM_ADDRESSES 9 /* one is the link-local one */
#define LWIP_IPV6_AUTOCONFIG 0
#define LWIP_IPV6_ADDRESS_LIFETIMES 1
#define LWIP_IPV6_DUP_DETECT_ATTEMPTS 0
#define LWIP_IPV6_SEND_ROUTER_SOLICIT 0
#define LWIP_IPV6_DHCP6 0
#define LWIP_IPV6_MLD 1
#define LWIP_ND6_ALLOW_RA_UPDATES 0
#define LWIP_ND6_NUM_NEIGHBORS 127
#define LWIP_ND6_NUM_DESTINATIONS 127
#define LWIP_ND6_QUEUEING 0 /* nothing would bound the queue: one packet waits */

/* TCP. Its clock is ten times as quick as lwIP takes for granted: a lost segment is sent again after
 * 150 ms or the round trip's time and that, not 1500. Half a mebibyte in flight is 1 Gbit/s at 4 ms. */
#define TCP_TMR_INTERVAL 25
#define TCP_MSS 8940 /* or what the MTU leaves */
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 4
#define TCP_WND (512 * 1024)
#define TCP_SND_BUF (512 * 1024)
#define TCP_SND_QUEUELEN 4096
#define TCP_SNDLOWAT (16 * 1024)
#define TCP_SNDQUEUELOWAT 2048
#define TCP_WND_UPDATE_THRESHOLD (64 * 1024)
#define TCP_QUEUE_OOSEQ 1
#define TCP_OOSEQ_PBUFS_LIMIT(pcb) stack_out_of_order_room()
#define LWIP_TCP_SACK_OUT 1
#define LWIP_TCP_MAX_SACK_NUM 4
#define LWIP_TCP_TIMESTAMPS 0
#define TCP_CALCULATE_EFF_SEND_MSS 1
#define TCP_LISTEN_BACKLOG 1
#define SO_REUSE 1 /* a port is not taken by what is in TIME-WAIT on it */
#define LWIP_TCP_KEEPALIVE 1
#define TCP_MSL 15000
#define TCP_SYNMAXRTX 6
#define TCP_OVERSIZE TCP_MSS

/* UDP. */
#define LWIP_UDP 1
#define LWIP_UDPLITE 0
#define UDP_TTL 64

#endif
