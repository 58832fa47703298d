#include "aead.h"

#include <string.h>

/* Nanoseconds for 64, 1408 and 8192 bytes on a Sapphire Rapids, calls included: ipsec-mb 1.3 takes
 * 103, 397 and 1770, OpenSSL 3.0 takes 175, 540 and 2146. */
const struct aead_library *const aead_libraries[] = {
#ifdef WGVX_HAVE_IPSEC_MB
    &aead_ipsec_mb,
#endif
    &aead_openssl,
    NULL,
};

bool aead_start(struct aead *aead, const char *name)
{
    for (const struct aead_library *const *library = aead_libraries; *library; library++) {
        if (name && strcmp(name, (*library)->name))
            continue;
        *aead = (struct aead){.library = *library};
        if ((*library)->start(aead))
            return true;
    }
    *aead = (struct aead){0};
    return false;
}

void aead_stop(struct aead *aead)
{
    aead->library->stop(aead);
    *aead = (struct aead){0};
}
