import type { TlsLibrary } from './library.js';

/** GnuTLS from 3.6.3 on, as a shared library. `gnutls_record_send` is a call of `gnutls_record_send2`. */
export const gnutls: TlsLibrary = {
  name: 'gnutls',
  matches: (file) => /\/libgnutls\.so\.30[^/]*$/.test(file),
  probes: [
    { symbol: 'gnutls_record_recv', program: 'enter_read' },
    { symbol: 'gnutls_record_recv', program: 'leave_read', atReturn: true },
    { symbol: 'gnutls_record_send2', program: 'enter_write' },
    { symbol: 'gnutls_record_send2', program: 'leave_write', atReturn: true },
    { symbol: 'gnutls_record_send_file', program: 'unseen', optional: true },
  ],
};
