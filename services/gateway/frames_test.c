/* SPDX-License-Identifier: Apache-2.0 */
/* frames_test.c - who gets which event, and what frames look like. */
#include "frames.h"

#include "core/check.h"
#include "core/json.h"
#include "handlers.h"

#define TYPE(name) GUICHET__V1__EVENT_TYPE__EVENT_TYPE_##name
#define ROLE(name) GUICHET__V1__ROLE__ROLE_##name

static const struct {
    const char *label;
    Guichet__V1__EventType type;
    const char *conversation, *agent, *previous, *queue;
    bool is_for_agent;
} events[] = {
    { "mine", TYPE(MESSAGE_RECEIVED), "c", "me", "", "q1", true },
    { "mine, in a queue that is not", TYPE(MESSAGE_RECEIVED), "c", "me", "", "q9", true },
    { "taken from me", TYPE(CONVERSATION_ASSIGNED), "c", "you", "me", "q1", true },
    { "closed, was mine", TYPE(CONVERSATION_CLOSED), "c", "", "me", "q9", true },
    { "a colleague's in my queue", TYPE(MESSAGE_RECEIVED), "c", "you", "", "q1", false },
    { "waits in my queue", TYPE(CONVERSATION_QUEUED), "c", "", "", "q1", true },
    { "waits elsewhere", TYPE(CONVERSATION_QUEUED), "c", "", "", "q9", false },
    { "in no queue", TYPE(CONVERSATION_OPENED), "c", "", "", "", false },
    { "my presence", TYPE(PRESENCE_CHANGED), "", "me", "", "", true },
    { "a colleague's presence", TYPE(PRESENCE_CHANGED), "", "you", "", "", false },
    { "a customer", TYPE(CUSTOMER_UPDATED), "", "", "", "", true },
    { "dead letter, even mine", TYPE(DEAD_LETTER_ADDED), "c", "me", "", "q1", false },
    { "replayed dead letter of nobody", TYPE(DEAD_LETTER_RESOLVED), "", "", "", "", false },
    { "refused, even mine", TYPE(EVENT_REFUSED), "c", "me", "", "q1", false },
};

static void test_filter(void **state)
{
    char *queues[] = { "q0", "q1" };
    Guichet__V1__Agent agent = GUICHET__V1__AGENT__INIT;

    (void)state;
    agent.id = "me";
    agent.queue_ids = queues;
    for (size_t i = 0; i < COUNT_OF(events); i++) {
        Guichet__V1__Event event = GUICHET__V1__EVENT__INIT;

        event.type = events[i].type;
        event.conversation_id = (char *)events[i].conversation;
        event.agent_id = (char *)events[i].agent;
        event.previous_agent_id = (char *)events[i].previous;
        event.queue_id = (char *)events[i].queue;
        agent.role = ROLE(AGENT);
        agent.n_queue_ids = COUNT_OF(queues);
        CHECK_CASE(events[i].label, frames_is_for(&event, &agent) == events[i].is_for_agent);
        agent.role = ROLE(SUPERVISOR);
        CHECK_CASE(events[i].label, frames_is_for(&event, &agent));
    }
}

static const struct {
    const char *label;
    Guichet__V1__WorkState state;
    const char *agent, *queue;
    bool is_visible;
} items[] = {
    { "mine", GUICHET__V1__WORK_STATE__WORK_STATE_ASSIGNED, "me", "q9", true },
    { "a colleague's", GUICHET__V1__WORK_STATE__WORK_STATE_ASSIGNED, "you", "q1", false },
    { "waits in my queue", GUICHET__V1__WORK_STATE__WORK_STATE_WAITING, "", "q1", true },
    { "waits elsewhere", GUICHET__V1__WORK_STATE__WORK_STATE_WAITING, "", "q9", false },
    { "closed in my queue", GUICHET__V1__WORK_STATE__WORK_STATE_CLOSED, "", "q1", true },
    { "closed elsewhere", GUICHET__V1__WORK_STATE__WORK_STATE_CLOSED, "", "q9", false },
};

static void test_visible(void **state)
{
    char *queues[] = { "q1" };
    Guichet__V1__Agent agent = GUICHET__V1__AGENT__INIT;

    (void)state;
    agent.id = "me";
    agent.role = ROLE(AGENT);
    agent.queue_ids = queues;
    for (size_t i = 0; i < COUNT_OF(items); i++) {
        Guichet__V1__WorkItem work = GUICHET__V1__WORK_ITEM__INIT;

        work.state = items[i].state;
        work.agent_id = (char *)items[i].agent;
        work.queue_id = (char *)items[i].queue;
        agent.n_queue_ids = 1;
        CHECK_CASE(items[i].label, view_is_visible(&work, &agent) == items[i].is_visible);
    }
    agent.n_queue_ids = 0;
    assert_true(view_is_visible(NULL, &agent));
}

static void check_frame(const char *label, const struct buf *frame)
{
    SCOPED_JSON value = NULL;
    struct err err = { 0 };

    CHECK_CASE(label, json_read(buf_view(frame), &value, &err));
    CHECK_CASE_TEXT(label, json_str(value, "type"), label);
}

static void test_frames_are_json(void **state)
{
    Guichet__V1__Event event = GUICHET__V1__EVENT__INIT;
    SCOPED_BUF frame;

    (void)state;
    buf_init(&frame, 65536);
    frames_hello(&frame, "id", "epoch", 5, 25000);
    check_frame("hello", &frame);
    buf_clear(&frame);
    event.type = TYPE(MESSAGE_RECEIVED);
    event.sequence = 6;
    frames_event(&frame, "epoch", &event);
    check_frame("event", &frame);
    assert_non_null(strstr(buf_text(&frame), "\"type\":\"message_received\""));
    assert_non_null(strstr(buf_text(&frame), "\"sequence\":\"6\""));
    buf_clear(&frame);
    frames_resync(&frame, "epoch", 7);
    check_frame("resync_required", &frame);
    buf_clear(&frame);
    frames_pong(&frame, "epoch", 7);
    check_frame("pong", &frame);
    buf_clear(&frame);
    frames_error(&frame, "what \"is\" this");
    check_frame("error", &frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_visible),
        cmocka_unit_test(test_frames_are_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
