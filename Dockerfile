# The daemon in a container: production dependencies, compiled output, a user without rights. The root file system may be
# read-only; the one place that is written to is /run/iommud, where the sockets are.
#
#   docker run --read-only --volume iommud:/run/iommud iommud

FROM node:26-slim AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build

FROM node:26-slim AS dependencies
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM node:26-slim
WORKDIR /opt/iommud
ENV NODE_ENV=production
# Guests' memory is held 64 KiB at a time: mapped alone, each piece goes back to the system when its context ends, and
# only the pages that were written count. Some room is left below the kernel's 65,530 mappings of a process.
ENV MALLOC_MMAP_THRESHOLD_=65536 MALLOC_MMAP_MAX_=32768
# Messages are short-lived and mostly outside the heap: a large young generation only lets them pile up until the whole heap
# is collected. The first line of the program says the same.
ENV NODE_OPTIONS=--max-semi-space-size=2
RUN install -d -o 65532 -g 65532 -m 0750 /run/iommud
COPY package.json LICENSE ./
COPY proto/iommud ./proto/iommud
COPY --from=dependencies /src/node_modules ./node_modules
COPY --from=build /src/dist/proto ./dist/proto
COPY --from=build /src/dist/hw-model ./dist/hw-model
COPY --from=build /src/dist/server ./dist/server
COPY --from=build /src/dist/clients ./dist/clients
VOLUME ["/run/iommud"]
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["node", "/opt/iommud/dist/clients/cli/main.js", "healthcheck"]
ENTRYPOINT ["node", "/opt/iommud/dist/server/main.js"]
