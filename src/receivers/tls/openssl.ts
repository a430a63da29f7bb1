import type { TlsLibrary } from './library.js';

/**
 * OpenSSL 3 as a shared library. Which of its connections can be told is decided at each call (`bpf-src/lib/openssl.h`):
 * those of versions 3.0 and 3.1 that read from a socket by the library's own means.
 */
export const openssl: TlsLibrary = {
  name: 'openssl',
  matches: (file) => /\/libssl\.so\.3[^/]*$/.test(file),
  probes: [
    { symbol: 'SSL_read', program: 'enter_read' },
    { symbol: 'SSL_read', program: 'leave_read', atReturn: true },
    { symbol: 'SSL_read_ex', program: 'enter_read_ex' },
    { symbol: 'SSL_read_ex', program: 'leave_read', atReturn: true },
    { symbol: 'SSL_write', program: 'enter_write' },
    { symbol: 'SSL_write', program: 'leave_write', atReturn: true },
    { symbol: 'SSL_write_ex', program: 'enter_write_ex' },
    { symbol: 'SSL_write_ex', program: 'leave_write', atReturn: true },
    { symbol: 'SSL_sendfile', program: 'unseen' },
  ],
};
