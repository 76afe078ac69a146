/* SPDX-License-Identifier: Apache-2.0 */
/* provider.h - pieces of the provider stand-in that others use. */
#ifndef GUICHET_CTL_PROVIDER_H
#define GUICHET_CTL_PROVIDER_H

/* "SM" and 32 hex digits. */
void provider_new_sid(char ret_sid[static 40]);

#endif
