/* SPDX-License-Identifier: Apache-2.0 */
/* segment.h - how many segments a text takes on the air (3GPP 23.038 and 23.040).
 *
 * GSM-7 when every character is in the default alphabet or its extension table (two septets each),
 * else UCS-2. One segment holds 160 septets or 70 units; of several each holds 153 or 67, because a
 * header of six octets says which part it is (8-bit reference). Neither an escape pair nor a
 * surrogate pair is ever split, so a segment may stay one short. */
#ifndef GUICHET_SMS_SEGMENT_H
#define GUICHET_SMS_SEGMENT_H

#include <stdint.h>

#include "core/str.h"

enum segment_coding { SEGMENT_GSM7, SEGMENT_UCS2 };

struct segment_count {
    enum segment_coding coding;
    uint32_t units;    /* septets, or UTF-16 units, without headers */
    uint32_t segments; /* 0 for no text */
};

/* `text` is valid UTF-8. */
struct segment_count sms_segment_count(struct str_view text);

#endif
