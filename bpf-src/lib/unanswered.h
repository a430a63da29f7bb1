/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What becomes of requests and answers that are under way when a connection ends. */
#ifndef MESHTAP_UNANSWERED_H
#define MESHTAP_UNANSWERED_H

#include "protocols/http1.h"

static __always_inline struct stream *answer_of(struct connection *c)
{
	return stream_of(c, c->role == ROLE_CLIENT ? IN : OUT);
}

/* The oldest request will not be answered, or not to the end. 0 = there is none. */
static __always_inline int fail_front_at(struct connection *c, __u8 failure, __u64 now)
{
	struct stream *answer;
	__u64 request, tag;

	if (!c)
		return 0;
	request = front(c);
	if (!request)
		return 0;
	answer = answer_of(c);
	if (answer->status >= 200) {
		answer->now = now;
		end_response(c, answer, failure);
		return 1;
	}
	tag = TAG(0, METHOD_BITS(request), request & 1, failure) | ROUTE_TAG(route_in_front(c, since(request, now)));
	measure(c, tag, since(request, now), 0);
	show_request(c, tag, since(request, now), 0, c->answered << 1);
	c->answered++;
	return 1;
}

/* Nothing more will come: what that means for answers that are under way. orderly: of the side that answers. */
static __noinline int end_answers(struct connection *c, int orderly, __u64 now)
{
	struct stream *answer;

	if (!c)
		return 0;
	drop_void(c);
	/* an answer to what was given up is none to what was asked since */
	answer = answer_of(c);
	if (answer->era != c->era)
		drop_answer(c, answer);
	if (answer->phase == UNTIL_CLOSE && orderly) {
		answer->now = now;
		end_response(c, answer, FAILURE_NONE);
	}
	if (c->untracked != c->untracked_answered)
		note(c->role, REQUESTS_PIPELINE_FULL, c->untracked - c->untracked_answered);
	if (c->asked == c->answered || answer->status < 200) /* no answer has begun, or one that is not the last */
		drop_answer(c, answer);
	return 0;
}

#endif
