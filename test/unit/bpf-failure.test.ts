import { describe, expect, test } from 'vitest';
import { loadFailure } from '../../src/bpf/failure.js';

/** A log as libbpf prints it around the verifier's own. */
const log = (...verifier: string[]) =>
  [
    "libbpf: prog 'ingress': BPF program load failed: Permission denied",
    "libbpf: prog 'ingress': -- BEGIN PROG LOAD LOG --",
    ...verifier,
    '-- END PROG LOAD LOG --',
    "libbpf: prog 'ingress': failed to load: -13",
    "libbpf: failed to load object 'x.bpf.o'",
    '',
  ].join('\n');

describe('a refusal by the verifier', () => {
  test.each([
    {
      kernel: 'Linux 6.18',
      lines: [
        '0: R1=ctx() R10=fp0',
        '; __u32 zero = 0; @ x.bpf.c:18',
        '0: (b7) r1 = 0                        ; R1=0',
        '5: (79) r1 = *(u64 *)(r0 +0)',
        "R0 invalid mem access 'map_value_or_null'",
        'processed 6 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0',
      ],
      verdict: "R0 invalid mem access 'map_value_or_null'",
    },
    {
      kernel: 'Linux 7.3, which explains itself',
      lines: [
        '; return *value ? 1 : 1 + (skb->len > 1000000); @ refused.bpf.c:20',
        '10: (79) r1 = *(u64 *)(r1 +0)',
        "R1 invalid mem access 'map_value_or_null'",
        'Verification failed: Register Type Safety: Invalid dereference',
        'Reason:',
        '  R1 may be NULL here (a nullable map value pointer). The program could dereference NULL on this',
        'Suggestion:',
        '  Add a NULL check before the access and dereference the pointer only on the non-NULL path.',
        'processed 10 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0',
      ],
      verdict: "R1 invalid mem access 'map_value_or_null'",
    },
    {
      kernel: 'Linux 5.10',
      lines: [
        'Func#3 is global and valid. Skipping.',
        'R1=ctx(id=0,off=0,imm=0) R10=fp0',
        '; return *value;',
        '7: (71) r0 = *(u8 *)(r1 +0)',
        ' R0_w=inv1 R1_w=inv(id=0,umax_value=255,var_off=(0x0; 0xff)) R10=fp0',
        "R1 invalid mem access 'inv'",
        'verification time 21 usec',
        'stack depth 8',
        'processed 6 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0',
      ],
      verdict: "R1 invalid mem access 'inv'",
    },
    {
      kernel: 'any, when it gives up',
      lines: [
        'from 1203 to 1211: frame2: R0=map_value(id=1) R10=fp0',
        '1211: frame2: R0=map_value(id=1) R10=fp0',
        '1285: (b7) r1 = 0',
        'BPF program is too large. Processed 1000001 insn',
        'processed 1000001 insns (limit 1000000) max_states_per_insn 38 total_states 39041',
      ],
      verdict: 'BPF program is too large. Processed 1000001 insn',
    },
    {
      kernel: 'any, when it says nothing',
      lines: ['frame4: R1=map_value(id=29150,map=connections,ks=4,vs=632) R10=fp0'],
      verdict: 'EACCES (permission denied)',
    },
  ])('is told by its verdict: $kernel', ({ lines, verdict }) => {
    const { code, message, detail } = loadFailure('/lib/x.bpf.o', -13, log(...lines));
    expect(code).toBe('VERIFIER_REFUSED');
    expect(message).toBe(
      `the verifier refused program ingress of /lib/x.bpf.o: ${verdict} (${lines.length + 4} lines omitted)`,
    );
    expect(detail).toContain(lines[0]);
  });
});

test('a refusal before the verifier is told by the first complaint', () => {
  const complaint =
    'libbpf: Error in bpf_create_map_xattr(pairs): Invalid argument(-22)\nlibbpf: failed to load\n';
  expect(loadFailure('/lib/x.bpf.o', -22, complaint).message).toBe(
    'the kernel refused /lib/x.bpf.o: Error in bpf_create_map_xattr(pairs): Invalid argument(-22) (1 line omitted)',
  );
  expect(loadFailure('/lib/x.bpf.o', -22, '').message).toBe(
    'the kernel refused /lib/x.bpf.o: EINVAL (invalid argument)',
  );
});
