// A worker that answers messages.
process.on("message", ({ question }) => process.send({ answer: 7 * question }));
