/* TCP's maximum segment size, lowered where a host asks for more than the overlay carries. Twin of
 * wgvx/vxlan/mss.py.
 */
#include "mss.h"

#define TCP_HEADER 20
#define TCP_CHECK 16
#define FRAGMENT_MASK 0x3FFF /* MF and the offset */
#define MAX_EXTENSIONS 8
enum { OPTION_END = 0, OPTION_NOTHING = 1, OPTION_MSS = 2 };

/* Where TCP begins, 0 where it does not; sets where it ends. */
static uint32_t ipv4_tcp(const uint8_t *frame, uint32_t l3, uint32_t *end)
{
    const uint8_t *ip = frame + l3;
    *end = l3 + get16(ip + 2);
    return get16(ip + 6) & FRAGMENT_MASK ? 0 : l3 + (ip[0] & 0x0Fu) * 4;
}

static uint32_t ipv6_tcp(const uint8_t *frame, uint32_t length, uint32_t l3, uint32_t *end)
{
    uint8_t protocol = frame[l3 + 6];
    uint32_t at = l3 + IPV6_HEADER;
    *end = at + get16(frame + l3 + 4);
    if (*end > length)
        return 0;
    for (int i = 0; i < MAX_EXTENSIONS; i++) {
        if (!mss_is_extension(protocol) || at + 8 > *end)
            break;
        protocol = frame[at];
        at += 8 + frame[at + 1] * 8u;
    }
    return protocol == PROTOCOL_TCP ? at : 0;
}

/* Where the value of the MSS option is; 0 where there is none. */
static uint32_t find_option(const uint8_t *frame, uint32_t tcp, uint32_t end)
{
    uint32_t at = tcp + TCP_HEADER, stop = tcp + (frame[tcp + 12] >> 4) * 4u;
    if (stop > end)
        return 0;
    while (at < stop && frame[at] != OPTION_END) {
        if (frame[at] == OPTION_NOTHING) {
            at++;
            continue;
        }
        if (at + 2 > stop || frame[at + 1] < 2 || at + frame[at + 1] > stop)
            return 0;
        if (frame[at] == OPTION_MSS)
            return frame[at + 1] == 4 ? at + 2 : 0;
        at += frame[at + 1];
    }
    return 0;
}

static uint16_t swapped(uint16_t word)
{
    return (uint16_t)(word >> 8 | word << 8);
}

bool mss_lower(uint8_t *frame, uint32_t length, const struct inner *inner, const uint16_t most[2])
{
    bool v4 = inner->version == 4;
    uint16_t limit = most[!v4];
    uint32_t end = 0;
    uint32_t tcp = v4 ? ipv4_tcp(frame, inner->l3, &end)
                      : ipv6_tcp(frame, length, inner->l3, &end);
    if (!limit || !tcp || end > length || end < tcp + TCP_HEADER || !(frame[tcp + 13] & TCP_SYN))
        return false;
    uint32_t at = find_option(frame, tcp, end);
    if (!at || get16(frame + at) <= limit)
        return false;
    uint16_t asked = get16(frame + at);
    put16(frame + at, limit);
    if ((at - tcp) % 2) /* It stands across two words of the sum. */
        replace_word(frame + tcp + TCP_CHECK, swapped(asked), swapped(limit));
    else
        replace_word(frame + tcp + TCP_CHECK, asked, limit);
    return true;
}
