// What the page holds: an overview, and blocks of rollouts that are decoded when one of them is looked at.

let overview = null;
const blocks = new Map();
const mostBlocks = 12;

async function unpack(id) {
  const packed = new Blob([bytesOf(document.getElementById(id).textContent)]);
  const plain = packed.stream().pipeThrough(new DecompressionStream('gzip'));
  return JSON.parse(await new Response(plain).text());
}

async function loadOverview() { overview = await unpack('overview'); }

/** The block of that number; the ones used last stay at hand. */
function loadBlock(number) {
  const known = blocks.get(number) ?? unpack(`rollouts-${number}`);
  blocks.delete(number);
  blocks.set(number, known);
  if (blocks.size > mostBlocks) blocks.delete(blocks.keys().next().value);
  return known;
}

/**
 * A rollout in full, its numbers unpacked. Lists per token are as long as `trainable`, the positions that were
 *  sampled.
 */
async function loadRollout(summary) {
  const packed = (await loadBlock(summary.block))[summary.place];
  const mask = unpackMarks(packed.mask), trainable = [];
  mask.forEach((isSampled, position) => {
    if (isSampled) trainable.push(position);
  });
  return {
    ...packed,
    summary,
    trainable,
    tokens: unpackIntegers(packed.tokens),
    entropy: unpackFloats(packed.entropy),
    entropyLow: unpackFloats(packed.entropyLow),
    entropyHigh: unpackFloats(packed.entropyHigh),
    trainer: unpackFloats(packed.trainer),
    sampler: unpackFloats(packed.sampler),
    topTokens: unpackIntegers(packed.topTokens),
    topLogprobs: unpackFloats(packed.topLogprobs),
    plans: packed.plans.map((plan) => plan && {
      ...plan,
      advantages: unpackFloats(plan.advantages),
      weights: unpackFloats(plan.weights),
      kept: unpackMarks(plan.kept),
    }),
  };
}

const textOf = (token) => overview.texts[token] ?? `⟨#${token}⟩`;
const meaningOf = (words, word) => words.find((one) => one.word === word)?.meaning ?? '';
const summaryOf = (id) => overview.rollouts.find((one) => one.id === id);
