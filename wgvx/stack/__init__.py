"""A TCP/IP stack in this process, lwIP's, and the ways into it: proxies and forwards."""
