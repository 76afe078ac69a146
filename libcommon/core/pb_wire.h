/* SPDX-License-Identifier: Apache-2.0 */
/* pb_wire.h - the check of a packed message; for pb_message.c only. */
#ifndef GUICHET_CORE_PB_WIRE_H
#define GUICHET_CORE_PB_WIRE_H

#include "core/pbjson.h"

bool pb_wire_check(struct str_view packed, const ProtobufCMessageDescriptor *descriptor,
    const struct pb_limits *limits, struct err *err) MUST_USE;

#endif
