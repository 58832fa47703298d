/* TCP's maximum segment size: of a SYN the option is lowered, never raised and never added. */
#ifndef WGVX_MSS_H
#define WGVX_MSS_H

#include "ip.h"

#define TCP_SYN 0x02

/* Hop-by-hop options, routing headers, destination options. */
static inline bool mss_is_extension(uint8_t next_header)
{
    return next_header == 0 || next_header == 43 || next_header == 60;
}

/* As below, of IP that may be TCP. */
bool mss_lower(uint8_t *frame, uint32_t length, const struct inner *, const uint16_t most[2]);

/* Lowers it to `most`, for IPv4 and IPv6, 0: none; whether it did. The frame is not shared. What is
 * not as it should be is left as it is. */
static inline bool mss_clamp(uint8_t *frame, uint32_t length, const struct inner *inner,
                             const uint16_t most[2])
{
    const uint8_t *ip = frame + inner->l3;
    uint32_t tcp;
    if (inner->version == 4 && ip[9] == PROTOCOL_TCP)
        tcp = inner->l3 + (ip[0] & 0x0Fu) * 4;
    else if (inner->version == 6 && ip[6] == PROTOCOL_TCP)
        tcp = inner->l3 + IPV6_HEADER;
    else
        return inner->version == 6 && mss_is_extension(ip[6]) &&
               mss_lower(frame, length, inner, most);
    if (tcp + 13 >= length || !(frame[tcp + 13] & TCP_SYN))
        return false; /* As nearly all of it is. */
    return mss_lower(frame, length, inner, most);
}

#endif
