#include "bytes.h"

uint8_t take8(struct bytes *from)
{
    if (!from->left)
        return 0;
    from->left--;
    return *from->data++;
}

uint16_t take16(struct bytes *from)
{
    uint16_t high = take8(from);
    return (uint16_t)(high << 8 | take8(from));
}

struct bytes take(struct bytes *from, size_t wanted)
{
    struct bytes taken = {from->data, wanted < from->left ? wanted : from->left};
    from->data += taken.left;
    from->left -= taken.left;
    return taken;
}
