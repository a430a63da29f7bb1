import type { Logger } from 'pino';
import type { Agent } from '../agent.js';
import type { Config } from '../config/schema.js';
import { MeshtapError } from '../errors.js';
import type { ServicePage } from '../exporters/page/service-page.js';

/**
 * Serves the service map, if it is not turned off, of an agent that may have yet to start: so that a port in use is found
 * before the kernel is touched. Rejects with PORT_IN_USE, EXPORT_FAILED or CONFIG_INVALID if it can
 * not be where it was told to be; where nothing was said, a port that is taken is no reason not to run.
 */
export async function servicePage(
  agent: () => Agent | undefined,
  config: Config,
  log: Logger,
): Promise<ServicePage | undefined> {
  const { listen, webConfigFile = config.exporters.prometheus?.webConfigFile } = config.page;
  if (listen === 'off') return undefined;
  const { servePage } = await import('../exporters/page/service-page.js');
  const started = (): Agent => {
    const running = agent();
    if (!running) throw new MeshtapError('NOT_READY', 'meshtap is starting');
    return running;
  };
  const options = {
    agent: {
      snapshot: async () => started().snapshot(),
      get flows() {
        return started().flows;
      },
    },
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
