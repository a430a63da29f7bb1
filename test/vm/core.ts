/**
 * The files of test/kernel that `.ci/run` has time for on other kernels, by the beginning of their paths, and what they
 * ask of the kernel. `npm run test:vm -- --tier kernel` runs them all. The others test what is made in user space
 * (names of cgroups and containers, pages, words, the demo, container runtimes, dashboards), or need starts of
 * `meshtap`, each a quarter of a minute where the processor is emulated, for what bpf-instance asks without them.
 */
export const CORE: Readonly<Record<string, string>> = {
  'test/kernel/bpf-': 'loading, attaching, pinning, upgrading, reading maps; a crash at each step',
  'test/kernel/ebpf.test.ts':
    'the receiver: sweeps, idle series, budgets, memory, restarts on open connections',
  'test/kernel/cgroup-index.test.ts': 'cgroups that come and go',
  'test/kernel/local.test.ts': 'who listens at a port',
  'test/kernel/traffic/': 'HTTP/1 and TCP: every form, cut, failure, body and time; loads against logs',
  'test/kernel/http2/': 'HTTP/2 and gRPC',
  'test/kernel/dns/lookups': 'DNS: lookups of real clients against the log of a real server',
  'test/kernel/dns/messages': 'DNS: what is forged, cut, late, repeated; random messages',
  'test/kernel/tls/': 'requests inside TLS, by uprobes',
  'test/kernel/dns/names': 'DNS: names of public addresses, over UDP and TCP; limits',
  'test/kernel/dns/stream': 'DNS over TCP: every cut, every order, what is none',
  'test/kernel/fuzz.test.ts': 'mutated conversations',
  'test/kernel/reliability/survival.test.ts': 'kill -9, restart and upgrade under load',
};
