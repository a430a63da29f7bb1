import type { Logger } from 'pino';
import type { Agent } from '../agent.js';
import type { Config } from '../config/schema.js';
import { MeshtapError } from '../errors.js';
import type { ServicePage } from '../exporters/page/service-page.js';

/**
 * Serves the service map, if it is not turned off. Rejects with PORT_IN_USE, EXPORT_FAILED or CONFIG_INVALID if it can
 * not be where it was told to be; where nothing was said, a port that is taken is no reason not to run.
 */
export async function servicePage(
  agent: Agent,
  config: Config,
  log: Logger,
): Promise<ServicePage | undefined> {
  const { listen, webConfigFile = config.exporters.prometheus?.webConfigFile } = config.page;
  if (listen === 'off') return undefined;
  const { servePage } = await import('../exporters/page/service-page.js');
  const options = {
    agent,
    webConfigFile,
    onError: (error: unknown) => log.error({ err: error }, 'service map'),
  };
  if (listen) return servePage({ ...options, ...listen });
  return servePage(options).catch((error: unknown) => {
    if (error instanceof MeshtapError && error.code === 'PORT_IN_USE')
      return servePage({ ...options, port: 0 });
    throw error;
  });
}
