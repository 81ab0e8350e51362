// The end of a test: whatever went wrong, nothing stays behind.

/** Stops the bridges (each has to end well), then removes the cluster; then says what was wrong. */
export async function tearDown(bridges, cluster) {
  const ends = await Promise.allSettled(bridges.filter(Boolean).map((bridge) => bridge.stop()));
  await cluster?.remove();
  const bad = ends.find(({ status }) => status === 'rejected');
  if (bad) throw bad.reason;
}
