/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the sms connector is this table; all else is connector_main()'s. */
#include "sms.h"

static const struct connector sms_connector = {
    .name = "sms",
    .summary = "Connector for SMS by HTTP providers (Twilio and what speaks like it).",
    .config_size = sizeof(struct sms_config),
    .account_keys = sms_account_keys,
    .account_size = sizeof(struct sms_account),
    .hook_answer = { .status = 200, .content_type = "text/xml", .body = { "<Response/>", 11 } },
    .check = sms_check,
    .capabilities = sms_capabilities,
    .verify = sms_verify,
    .normalise = sms_normalise,
    .render = sms_render,
    .outcome = sms_outcome,
    .media = sms_media,
    .units = sms_units,
};

int main(int argc, char **argv)
{
    return connector_main(argc, argv, &sms_connector);
}
