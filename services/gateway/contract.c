/* SPDX-License-Identifier: Apache-2.0 */
/* contract.c - the documents that describe this API, served by it. */
#include "handlers.h"

void contract_openapi(struct call *call)
{
    call_reply_text(call, 200, "application/yaml",
                    (struct str_view){ gateway_openapi_yaml, gateway_openapi_yaml_len });
}

void contract_event_schemas(struct call *call)
{
    call_reply_text(call, 200, "application/json",
                    (struct str_view){ gateway_event_schemas_json, gateway_event_schemas_json_len });
}
