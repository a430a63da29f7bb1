import { loadConfig } from '../config/load.js';

/** `meshtap config check`: says that a file is right, or throws CONFIG_INVALID. */
export function checkConfiguration(file: string): void {
  loadConfig({ file });
  process.stdout.write(`${file}: no errors\n`);
}
