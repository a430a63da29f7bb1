/**
 * How tests bear machines that are emulated: test/vm/guest.ts sets both variables there.
 *
 * @module
 */

/** How many times longer than elsewhere all may take. */
export const TIME_SCALE = Number(process.env.MESHTAP_TIME_SCALE ?? 1);

const LOAD_SCALE = Number(process.env.MESHTAP_LOAD_SCALE ?? 1);

/** That many, or the share of it that the machine can bear: for loads whose size is not what they prove. */
export const many = (count: number): number => Math.ceil(count * LOAD_SCALE);
