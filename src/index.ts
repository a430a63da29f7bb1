/**
 * meshtap as a library. Receivers, exporters and resolvers have subpaths of their own: `meshtap/receivers`,
 * `meshtap/exporters`, `meshtap/identity`.
 *
 * @module
 */
export { type Agent, type AgentOptions, type AgentStatus, createAgent, type DialectName } from './agent.js';
export { DEFAULT_BOUNDARIES } from './config/boundaries.js';
export { type ErrorCode, explain, MeshtapError } from './errors.js';
export type { Flow, FlowEnd, FlowEvent, Lost } from './flows/flow.js';
export type { FlowHub, FlowHubOptions, WatchOptions } from './flows/hub.js';
export type { Dialect } from './metrics/dialects/dialect.js';
export type {
  Attributes,
  HistogramFamily,
  HistogramPoint,
  MetricFamily,
  NumberFamily,
  NumberPoint,
} from './metrics/family.js';
export type { Ends, Row, Snapshot } from './metrics/model.js';
export { VERSION } from './metrics/version.js';
