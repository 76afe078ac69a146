/* SPDX-License-Identifier: Apache-2.0 */
/* routes.c - the API as a table: method, path, the least role, what is checked, who answers.
 *
 * The same operations stand in embed/openapi.yaml; routes_test.c compares the two. */
#include "handlers.h"

#include <string.h>

#define ROLE(name) GUICHET__V1__ROLE__ROLE_##name
#define ID "/v1/conversations/{id}"

const struct route routes[] = {
    { "POST", "/v1/sessions", 0, ROUTE_PUBLIC, NULL, sessions_login_body, sessions_create },
    { "DELETE", "/v1/sessions/current", ROLE(AGENT), 0, NULL, NULL, sessions_delete },
    { "GET", "/v1/me", ROLE(AGENT), 0, NULL, NULL, sessions_me },
    { "PUT", "/v1/me/presence", ROLE(AGENT), 0, NULL, sessions_presence_body, sessions_presence },
    { "GET", "/v1/agents", ROLE(AGENT), 0, "cursor limit", NULL, agents_list },
    { "POST", "/v1/agents", ROLE(ADMIN), 0, NULL, agents_body, agents_put },
    { "GET", "/v1/queues", ROLE(AGENT), 0, NULL, NULL, agents_queues },
    { "GET", "/v1/accounts", ROLE(AGENT), 0, NULL, NULL, agents_accounts },
    { "GET", "/v1/conversations", ROLE(AGENT), 0, "state mine queue_id cursor limit", NULL,
      conversations_list },
    { "POST", "/v1/conversations", ROLE(AGENT), ROUTE_KEYED, NULL, replies_start_body, replies_start },
    { "GET", ID, ROLE(AGENT), 0, NULL, NULL, conversations_get },
    { "GET", ID "/messages", ROLE(AGENT), 0, "cursor limit", NULL, messages_list },
    { "POST", ID "/messages", ROLE(AGENT), ROUTE_KEYED, NULL, replies_message_body, replies_send },
    { "PUT", ID "/read", ROLE(AGENT), 0, NULL, conversations_read_body, conversations_mark_read },
    { "POST", ID "/notes", ROLE(AGENT), ROUTE_KEYED, NULL, replies_note_body, replies_note },
    { "POST", ID "/assign", ROLE(AGENT), 0, NULL, actions_assign_body, actions_assign },
    { "POST", ID "/transfer", ROLE(AGENT), 0, NULL, actions_transfer_body, actions_transfer },
    { "POST", ID "/close", ROLE(AGENT), 0, NULL, NULL, actions_close },
    { "POST", ID "/reopen", ROLE(AGENT), 0, NULL, NULL, actions_reopen },
    { "GET", "/v1/customers", ROLE(AGENT), 0, "identity_kind identity_value identity_scope name cursor limit",
      NULL, customers_find },
    { "GET", "/v1/customers/{id}", ROLE(AGENT), 0, NULL, NULL, customers_get },
    { "PATCH", "/v1/customers/{id}", ROLE(AGENT), ROUTE_IF_MATCH, NULL, customers_body, customers_update },
    { "GET", "/v1/customers/{id}/timeline", ROLE(AGENT), 0, "cursor limit", NULL, customers_timeline },
    { "POST", ID "/join", ROLE(AGENT), 0, NULL, merges_join_body, merges_join },
    { "POST", ID "/typing", ROLE(AGENT), 0, NULL, NULL, typing_set },
    { "POST", "/v1/customers/{id}/merges", ROLE(AGENT), ROUTE_KEYED, NULL, merges_body, merges_create },
    { "DELETE", "/v1/merges/{id}", ROLE(AGENT), 0, NULL, NULL, merges_delete },
    { "GET", "/v1/dead-letters", ROLE(ADMIN), 0, "state kind account_id cursor limit", NULL, dead_letters_list },
    { "GET", "/v1/dead-letters/{id}", ROLE(ADMIN), 0, NULL, NULL, dead_letters_get },
    { "POST", "/v1/dead-letters/{id}/replay", ROLE(ADMIN), 0, NULL, NULL, dead_letters_replay },
    { "POST", "/v1/dead-letters/{id}/drop", ROLE(ADMIN), 0, NULL, NULL, dead_letters_drop },
    { "GET", "/v1/audit", ROLE(ADMIN), 0, "since until", NULL, audit_get },
    { "POST", "/v1/media", ROLE(AGENT), ROUTE_SINK, "file_name", NULL, media_upload_misplaced },
    { "POST", "/v1/events/ticket", ROLE(AGENT), 0, NULL, NULL, events_ticket_create },
    { "GET", "/v1/openapi.yaml", 0, ROUTE_PUBLIC, NULL, NULL, contract_openapi },
    { "GET", "/v1/event-schemas.json", 0, ROUTE_PUBLIC, NULL, NULL, contract_event_schemas },
};
const size_t routes_count = COUNT_OF(routes);

/* Does `path` fit the template? *ret_id is written only where {id} stood. */
static bool is_match(const char *template, const char *path, struct str_view *ret_id)
{
    const char *hole = strstr(template, "{id}");
    size_t head, len;

    if (hole == NULL)
        return strcmp(template, path) == 0;
    head = (size_t)(hole - template);
    if (strncmp(template, path, head) != 0)
        return false;
    len = strcspn(path + head, "/");
    if (len == 0 || strcmp(hole + 4, path + head + len) != 0)
        return false;
    *ret_id = (struct str_view){ path + head, len };
    return true;
}

enum route_result routes_find(const char *method, const char *path, const struct route **ret_route,
                              struct str_view *ret_id, struct buf *ret_allow)
{
    enum route_result result = ROUTE_NO_PATH;
    struct str_view id = { "", 0 };

    for (size_t i = 0; i < routes_count; i++) {
        if (!is_match(routes[i].path, path, &id))
            continue;
        if (strcmp(routes[i].method, method) == 0) {
            *ret_route = &routes[i];
            *ret_id = id;
            return ROUTE_FOUND;
        }
        if (result == ROUTE_NO_METHOD)
            buf_append_text(ret_allow, ", ");
        buf_append_text(ret_allow, routes[i].method);
        result = ROUTE_NO_METHOD;
    }
    return result;
}
