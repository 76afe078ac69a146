/* SPDX-License-Identifier: Apache-2.0 */
/* pbtime.h - google.protobuf.Timestamp from and to microseconds. */
#ifndef GUICHET_CORE_PBTIME_H
#define GUICHET_CORE_PBTIME_H

#include "core/arena.h"
#include "google/protobuf/timestamp.pb-c.h"

Google__Protobuf__Timestamp *pbtime_new(struct arena *arena, int64_t us);  /* NULL when us is 0 */
int64_t pbtime_us(const Google__Protobuf__Timestamp *time);                /* 0 when NULL */

#endif
