/**
 * Hubble's `FlowFilter` (`flow.proto`), in its JSON form, as predicates. All fields of one filter have to fit, one of the
 * values of each is enough; a flow is shown if any filter of the whitelist fits, or there is none, and no filter of the
 * blacklist does.
 *
 * @module
 */
import { MeshtapError } from '../errors.js';
import { FIELDS } from './filter-fields.js';
import type { Flow, TcpFlag, Workload } from './flow.js';
import type { Matcher } from './patterns.js';

/** What flows have to be like. Fields are named as in `flow.proto`. */
export interface FlowFilter {
  readonly source_ip?: readonly string[];
  readonly source_ip_xlated?: readonly string[];
  readonly destination_ip?: readonly string[];
  /** `namespace/beginning-of-name`, `namespace/`, `/name`, or a name in `default`. */
  readonly source_pod?: readonly string[];
  readonly destination_pod?: readonly string[];
  readonly source_fqdn?: readonly string[];
  readonly destination_fqdn?: readonly string[];
  readonly source_label?: readonly string[];
  readonly destination_label?: readonly string[];
  readonly source_service?: readonly string[];
  readonly destination_service?: readonly string[];
  readonly source_workload?: readonly Partial<Workload>[];
  readonly destination_workload?: readonly Partial<Workload>[];
  readonly source_cluster_name?: readonly string[];
  readonly destination_cluster_name?: readonly string[];
  readonly source_identity?: readonly number[];
  readonly destination_identity?: readonly number[];
  readonly source_port?: readonly string[];
  readonly destination_port?: readonly string[];
  readonly verdict?: readonly string[];
  readonly drop_reason_desc?: readonly string[];
  readonly event_type?: readonly EventTypeFilter[];
  /** `404`, `5+` */
  readonly http_status_code?: readonly string[];
  readonly http_method?: readonly string[];
  /** Regular expressions, RE2, for a part of it. */
  readonly http_path?: readonly string[];
  readonly http_url?: readonly string[];
  readonly http_header?: readonly { key?: string; value?: string }[];
  readonly dns_query?: readonly string[];
  readonly protocol?: readonly string[];
  readonly reply?: readonly boolean[];
  readonly tcp_flags?: readonly { readonly [flag in TcpFlag]?: boolean }[];
  readonly node_name?: readonly string[];
  readonly node_labels?: readonly string[];
  readonly ip_version?: readonly string[];
  readonly trace_id?: readonly string[];
  readonly ip_trace_id?: readonly (string | number)[];
  readonly uuid?: readonly string[];
  readonly traffic_direction?: readonly string[];
  readonly interface?: readonly { index?: number; name?: string }[];
  readonly encrypted?: readonly boolean[];
}

/** `type` 0 is any; `sub_type` counts only with `match_sub_type`. */
export interface EventTypeFilter {
  readonly type?: number;
  readonly match_sub_type?: boolean;
  readonly sub_type?: number;
}

/** Which flows are shown. */
export interface FlowFilters {
  /** @default [] */
  readonly whitelist?: readonly FlowFilter[];
  /** @default [] */
  readonly blacklist?: readonly FlowFilter[];
}

/** Compiles filters. Throws FILTER_INVALID, which names the field, what was found and what is accepted. */
export function compileFilters({ whitelist = [], blacklist = [] }: FlowFilters): Matcher<Flow> {
  const keep = whitelist.map(compileFilter);
  const drop = blacklist.map(compileFilter);
  return (flow) => (keep.length === 0 || keep.some((fits) => fits(flow))) && !drop.some((fits) => fits(flow));
}

function compileFilter(filter: FlowFilter): Matcher<Flow> {
  const all: Matcher<Flow>[] = [];
  for (const [name, values] of Object.entries(filter)) {
    const field = Object.hasOwn(FIELDS, name) ? FIELDS[name as keyof FlowFilter] : undefined;
    if (!field) throw new MeshtapError('FILTER_INVALID', `filter ${name}: there is no such field`);
    if (!Array.isArray(values)) throw invalid(name, values, 'a list');
    if (values.length === 0) continue;
    const any = values.map((value) => {
      const fits = field.compile(value, filter);
      if (!fits) throw invalid(name, value, field.accepts);
      return fits;
    });
    all.push((flow) => any.some((fits) => fits(flow)));
  }
  return (flow) => all.every((fits) => fits(flow));
}

const invalid = (name: string, value: unknown, accepts: string) =>
  new MeshtapError('FILTER_INVALID', `filter ${name}: found ${JSON.stringify(value)}, expected ${accepts}`);
