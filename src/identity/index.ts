/**
 * Who is at each end: `meshtap/identity`.
 *
 * @module
 */
export { type CgroupOptions, type CgroupResolver, cgroup } from './cgroup.js';
export { type ContainersOptions, type ContainersResolver, containers, SOCKETS } from './containers.js';
export { AMBIGUOUS, type DnsOptions, dns, SIBLINGS } from './dns.js';
export {
  FIRST_PREFIX_ID,
  type Identity,
  NODE,
  type Prefix,
  type Question,
  type Resolver,
  type ResolverHost,
  UNKNOWN,
  WORLD,
} from './identity.js';
export {
  type KubernetesOptions,
  type KubernetesResolver,
  type KubernetesTuning,
  kubernetes,
  SERVICE_NAME,
} from './kubernetes.js';
export { type LocalOptions, local } from './local.js';
export { PRIVATE, type StaticEntry, type StaticOptions, staticTable } from './static.js';
