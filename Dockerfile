# The API alone; compose.yaml starts it together with its monitoring. What a build may see is listed in .dockerignore.

FROM node:24.21.0-bookworm-slim AS base
WORKDIR /app
ENV NODE_ENV=production

# The versions and checksums of the lock file, without development tools and install scripts. The only optional package is
# a Node binary for machines that have an older one.
FROM base AS dependencies
COPY package.json package-lock.json ./
COPY plugins/cache/package.json plugins/cache/
COPY plugins/metrics/package.json plugins/metrics/
COPY plugins/model/package.json plugins/model/
COPY plugins/rate-limit/package.json plugins/rate-limit/
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund
# onnxruntime-node carries binaries of five platforms, 290 MB, and loads bin/<api>/<platform>/<architecture>.
RUN find node_modules/onnxruntime-node/bin -mindepth 3 -maxdepth 3 -type d \
      ! -path "*/linux/$(node -p process.arch)" -exec rm -r {} +

FROM base
LABEL org.opencontainers.image.title="Trading Fun API" \
      org.opencontainers.image.description="Ranks stocks by an ONNX model and exports metrics that are true" \
      org.opencontainers.image.source="https://github.com/trading-fun/trading-fun-api" \
      org.opencontainers.image.licenses="MIT"
# A container's loopback can't be reached from outside; who may reach the port is decided where it is published.
ENV HOST=0.0.0.0
COPY --from=dependencies /app/node_modules node_modules
COPY . .

# It owns nothing: all files are root's, and the service writes none.
USER node
EXPOSE 8000
STOPSIGNAL SIGTERM
# A container has one state, and what reads it (depends_on, up --wait, proxies) asks whether to send requests: so readiness,
# not liveness. It checks no upstream, so it never turns a container unhealthy for another's outage.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.PORT || 8000) + '/health/ready').then((reply) => process.exit(reply.ok ? 0 : 1), () => process.exit(1))"]
# Node itself as process 1, so that it gets the signal.
CMD ["node", "server.ts"]
