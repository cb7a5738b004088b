package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    map[string]string `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

const (
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociConfig   = "application/vnd.oci.image.config.v1+json"
	ociLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// image is an OCI image layout in a tar file (github.com/opencontainers/image-spec), for two
// processors: both programs and nothing else. No daemon is needed to make it.
func (p *packaging) image() error {
	list := []entry{
		{path: "oci-layout", mode: 0o644, data: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{path: "blobs", mode: 0o755 | dir}, {path: "blobs/sha256", mode: 0o755 | dir},
	}
	blob := func(kind string, data []byte) descriptor {
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		list = append(list, entry{path: "blobs/sha256/" + sum, mode: 0o644, data: data})
		return descriptor{MediaType: kind, Digest: "sha256:" + sum, Size: len(data)}
	}
	text := func(v any) []byte { b, _ := json.Marshal(v); return b } // of maps and strings only
	labels := map[string]string{
		"org.opencontainers.image.title": "leash", "org.opencontainers.image.description": summary,
		"org.opencontainers.image.version": p.version.plain, "org.opencontainers.image.licenses": license,
		"org.opencontainers.image.source": home,
	}
	created := p.mtime.Format(time.RFC3339)
	var manifests []descriptor
	for _, arch := range []string{"amd64", "arm64"} {
		files := []entry{{path: "usr", mode: 0o755 | dir}, {path: "usr/bin", mode: 0o755 | dir}}
		for _, program := range programs {
			files = append(files, entry{path: "usr/bin/" + program, mode: 0o755, data: p.program(program, "linux", arch)},
				entry{path: "usr/bin/leash-" + program, mode: 0o755, hard: "usr/bin/" + program})
		}
		files = append(files, entry{path: "usr/share", mode: 0o755 | dir}, entry{path: "usr/share/doc", mode: 0o755 | dir},
			entry{path: "usr/share/doc/leash", mode: 0o755 | dir},
			entry{path: "usr/share/doc/leash/LICENSE", mode: 0o644, data: p.sources["LICENSE"]},
			entry{path: "usr/share/doc/leash/THIRD-PARTY", mode: 0o644, data: p.notices})
		layer, err := tarball(files, p.mtime)
		if err != nil {
			return err
		}
		config := blob(ociConfig, text(map[string]any{
			"created": created, "architecture": arch, "os": "linux",
			"config":  map[string]any{"Env": []string{"PATH=/usr/bin"}, "Entrypoint": []string{"/usr/bin/watchdog"}, "Labels": labels},
			"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
			"history": []any{map[string]string{"created": created, "created_by": "make package"}},
		}))
		manifest := blob(ociManifest, text(map[string]any{
			"schemaVersion": 2, "mediaType": ociManifest, "config": config, "layers": []descriptor{blob(ociLayer, gzipped(layer))},
			"annotations": labels,
		}))
		manifest.Platform = map[string]string{"architecture": arch, "os": "linux"}
		manifests = append(manifests, manifest)
	}
	index := blob(ociIndex, text(map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": manifests}))
	index.Annotations = map[string]string{"org.opencontainers.image.ref.name": p.version.npm}
	list = append(list, entry{path: "index.json", mode: 0o644, data: text(map[string]any{"schemaVersion": 2, "manifests": []descriptor{index}})})
	data, err := tarball(list, p.mtime)
	p.put("leash-"+p.version.plain+"-image.tar", data)
	return err
}
