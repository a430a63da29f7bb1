/**
 * Who is at each end: `meshtap/identity`.
 *
 * @module
 */
export { type CgroupOptions, cgroup } from './cgroup.js';
export {
  FIRST_PREFIX_ID,
  type Identity,
  type Prefix,
  type Question,
  type Resolver,
  UNKNOWN,
  WORLD,
} from './identity.js';
export { type LocalOptions, local } from './local.js';
export { PRIVATE, type StaticEntry, type StaticOptions, staticTable } from './static.js';
