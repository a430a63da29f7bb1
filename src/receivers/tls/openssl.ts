import type { TlsLibrary } from './library.js';

/**
 * OpenSSL from 1.1.1 on, as a shared library or in an executable that has its symbols, as Node has. Which of its
 * connections can be told is decided at each call (`bpf-src/lib/hello.h`).
 */
export const openssl: TlsLibrary = {
  name: 'openssl',
  matches: (file) => /\/libssl[^/]*\.so\.(?:3|1\.1)[^/]*$/.test(file),
  probes: [
    { symbol: 'SSL_read', program: 'enter_read' },
    { symbol: 'SSL_read', program: 'leave_read', atReturn: true },
    { symbol: 'SSL_read_ex', program: 'enter_read_ex' },
    { symbol: 'SSL_read_ex', program: 'leave_read', atReturn: true },
    { symbol: 'SSL_write', program: 'enter_write' },
    { symbol: 'SSL_write', program: 'leave_write', atReturn: true },
    { symbol: 'SSL_write_ex', program: 'enter_write_ex' },
    { symbol: 'SSL_write_ex', program: 'leave_write', atReturn: true },
    { symbol: 'SSL_sendfile', program: 'unseen', optional: true },
  ],
};
