/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* With FUZZ_TRACE=1 in the environment a run tells what happens: each segment, and what the ledger says to it. */
#ifndef FUZZ_TRACE_H
#define FUZZ_TRACE_H

#include "programs.h"

static bool is_traced(void)
{
	static int answer = -1;

	if (answer < 0)
		answer = getenv("FUZZ_TRACE") != 0;
	return answer;
}

static void trace_bytes(const __u8 *bytes, __u32 length)
{
	fputs(" \"", stderr);
	for (__u32 i = 0; i < length; i++) {
		if (bytes[i] >= 32 && bytes[i] < 127)
			fputc(bytes[i], stderr);
		else
			fprintf(stderr, bytes[i] == '\r' ? "\\r" : bytes[i] == '\n' ? "\\n" : "\\x%02x", bytes[i]);
	}
	fputs("\"\n", stderr);
}

/* What has changed in the ledger since the last time. */
static void trace_ledger(struct map *ledgers)
{
	static const char *const ROLE_NAMES[] = { "unknown", "client", "server" };
#define NAME(entry) [entry] = #entry
	static const char *const NAMES[LEDGER_ENTRIES] = {
		NAME(REQUESTS_SEEN), NAME(REQUESTS_ANSWERED), NAME(REQUESTS_FAILED),
		NAME(REQUESTS_DESYNCHRONISED), NAME(REQUESTS_PIPELINE_FULL),
		NAME(RESPONSES_SEEN), NAME(RESPONSES_MATCHED), NAME(RESPONSES_INTERIM),
		NAME(RESPONSES_JOINED_MIDWAY), NAME(RESPONSES_PIPELINE_FULL), NAME(CONNECTIONS_HTTP1),
		NAME(CONNECTIONS_HTTP2), NAME(CONNECTIONS_TLS), NAME(CONNECTIONS_OTHER),
		NAME(CONNECTIONS_UNTRACKED), NAME(LOST_SYNC), NAME(SEGMENTS_EARLY),
		NAME(SEGMENTS_EARLY_DROPPED), NAME(SERIES_OVERFLOWED), NAME(PAIRS_OVERFLOWED),
	};
#undef NAME
	static struct ledger before;
	struct ledger now = {};

	for (__u32 role = 0; role < ROLES; role++) {
		for (__u32 i = 0; i < LEDGER_ENTRIES; i++) {
			for (__u32 stripe = 0; stripe <= stripes_mask; stripe++)
				now.count[role][i] += ((struct ledger *)map_lookup(ledgers, &stripe))->count[role][i];
			if (now.count[role][i] > before.count[role][i])
				fprintf(stderr, "    %s: %s\n", ROLE_NAMES[role], NAMES[i] ? NAMES[i] : "?");
		}
	}
	before = now;
}

#endif
