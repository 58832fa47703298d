/* What lwIP asks of its platform. */
#ifndef WGVX_STACK_CC_H
#define WGVX_STACK_CC_H

#include <stdint.h>

uint32_t stack_random(void);
_Noreturn void stack_assert_failed(const char *message);

#define LWIP_RAND() stack_random()
#define LWIP_PLATFORM_DIAG(message) ((void)0)
#define LWIP_PLATFORM_ASSERT(message) stack_assert_failed(message)
#define LWIP_NO_CTYPE_H 0

#endif
