/**
 * The files of test/kernel that `.ci/run` leaves out on other kernels, and why: where the processor is emulated, each
 * start of `meshtap` takes a quarter of a minute. `npm run test:vm -- --tier kernel` runs them all.
 */
export const LEFT_OUT: Readonly<Record<string, string>> = {
  'cli.test.ts': 'words and exit codes; ebpf and bpf-instance ask the same of the kernel',
  'demo.test.ts': 'processes and pages of the demo',
  'demo-queries.test.ts': 'a page of the demo, and Prometheus',
  'examples.test.ts': 'the library as others use it',
  'reliability/collector.test.ts': 'exporters, which know nothing of the kernel',
  'reliability/crash.test.ts': '40 starts; bpf-instance kills at each step that the kernel sees',
  'reliability/hostile.test.ts': 'names and pages, which are made in user space',
  'reliability/instances.test.ts':
    '20 starts; bpf-instance has the same cases without the process around them',
};
