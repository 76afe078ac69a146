/* SPDX-License-Identifier: Apache-2.0 */
/* flow_steps.h - what connectors, agents and supervisors do in flow tests, one call each. */
#ifndef GUICHET_ROUTING_FLOW_STEPS_H
#define GUICHET_ROUTING_FLOW_STEPS_H

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "flow_jobs.h"

static KIT_UNUSED Guichet__V1__AnnounceReply *announce(struct house *house, const char *tenant,
                                                       const char *secret)
{
    Guichet__V1__AnnounceRequest request = GUICHET__V1__ANNOUNCE_REQUEST__INIT;
    Guichet__V1__AnnouncedAccount account = GUICHET__V1__ANNOUNCED_ACCOUNT__INIT, *accounts = &account;
    Guichet__V1__SpoolCount spool = GUICHET__V1__SPOOL_COUNT__INIT, *spools = &spool;
    Guichet__V1__AnnounceReply *reply;
    int64_t now_us = time_now_us();
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    char text[128];

    snprintf(text, sizeof(text), "sms-1\nsms\n%lld\n61", (long long)(now_us / 1000000));
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (const uint8_t *)text, strlen(text), mac, &len);
    request.connector = (char *)"sms-1";
    request.channel = (char *)"sms";
    request.at = pbtime_new(house->arena, now_us);
    request.nonce = (ProtobufCBinaryData){ 1, (uint8_t *)"a" };
    request.mac = (ProtobufCBinaryData){ len, mac };
    request.accounts = &accounts;
    request.n_accounts = 1;
    account.tenant = (char *)tenant;
    account.id = arena_printf(house->arena, "sms-%s", tenant);
    account.address = (char *)"+33199000000";
    account.capabilities = &house->can;
    request.spools = &spools;
    request.n_spools = 1;
    spool.tenant = (char *)tenant;
    spool.account_id = account.id;
    spool.event_count = 3;
    reply = CALL(house, connector, connector, announce, AnnounceReply, &request);
    if (reply != NULL) {
        buf_clear(&house->token);
        buf_append(&house->token, reply->token.data, reply->token.len);
    }
    return reply;
}

static KIT_UNUSED Guichet__V1__SubmitReply *submit(struct house *house, const char *account_id, unsigned n)
{
    Guichet__V1__SubmitRequest request = GUICHET__V1__SUBMIT_REQUEST__INIT;
    Guichet__V1__InboundEvent event = GUICHET__V1__INBOUND_EVENT__INIT, *events = &event;

    request.tenant = house->tenant;
    request.events = &events;
    request.n_events = 1;
    event.account_id = (char *)account_id;
    event.event_key = arena_printf(house->arena, "%u", n);
    return CALL(house, connector, connector, submit, SubmitReply, &request);
}

static KIT_UNUSED Guichet__V1__Agent *make_agent(struct house *house, const char *login,
                                                 Guichet__V1__Role role)
{
    Guichet__V1__PutAgentRequest request = GUICHET__V1__PUT_AGENT_REQUEST__INIT;
    Guichet__V1__SetPresenceRequest presence = GUICHET__V1__SET_PRESENCE_REQUEST__INIT;
    Guichet__V1__PutAgentReply *reply;

    request.tenant = house->tenant;
    request.login = (char *)login;
    request.password = (char *)"correct horse";
    request.role = role;
    request.capacity = 2;
    reply = CALL(house, gateway, routing, put_agent, PutAgentReply, &request);
    assert_non_null(reply);
    assert_true(reply->is_new);
    assert_int_equal(reply->agent->n_queue_ids, 2);
    presence.tenant = house->tenant;
    presence.agent_id = reply->agent->id;
    presence.presence = GUICHET__V1__PRESENCE__PRESENCE_ONLINE;
    assert_non_null(CALL(house, gateway, routing, set_presence, SetPresenceReply, &presence));
    return reply->agent;
}

static KIT_UNUSED Guichet__V1__ReplyReply *reply_text(struct house *house, const char *agent_id, unsigned n,
                                                      const char *words)
{
    Guichet__V1__ReplyRequest request = GUICHET__V1__REPLY_REQUEST__INIT;
    Guichet__V1__Content content = GUICHET__V1__CONTENT__INIT;
    Guichet__V1__Part part = GUICHET__V1__PART__INIT, *parts = &part;
    Guichet__V1__Text text = GUICHET__V1__TEXT__INIT;

    text.text = (char *)words;
    part.kind_case = GUICHET__V1__PART__KIND_TEXT;
    part.text = &text;
    content.parts = &parts;
    content.n_parts = 1;
    request.tenant = house->tenant;
    request.conversation_id = fake_id(&house->fake, FAKE_CONVERSATION, n);
    request.content = &content;
    request.actor_id = (char *)agent_id;
    request.idempotency_key = (char *)"key";
    return CALL(house, gateway, routing, reply, ReplyReply, &request);
}

/* The events' types from the beginning, as text: "4 1 6". */
static KIT_UNUSED const char *event_types(struct house *house)
{
    Guichet__V1__ReadEventsRequest request = GUICHET__V1__READ_EVENTS_REQUEST__INIT;
    Guichet__V1__ReadEventsReply *reply;
    const char *types = "";

    request.tenant = house->tenant;
    reply = CALL(house, gateway, routing, read_events, ReadEventsReply, &request);
    assert_non_null(reply);
    for (size_t i = 0; i < reply->n_events; i++) {
        assert_int_equal(reply->events[i]->sequence, i + 1);
        types = arena_printf(house->arena, "%s%s%d", types, i > 0 ? " " : "", (int)reply->events[i]->type);
    }
    return types;
}

static KIT_UNUSED unsigned count_value(struct house *house, const char *sql)
{
    char *value = kit_sql(database.url, sql);
    unsigned number = (unsigned)atoi(value);

    (void)house;
    free(value);
    return number;
}

#endif
