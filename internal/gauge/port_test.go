package gauge

import "testing"

func TestPortText(t *testing.T) {
	for want, p := range map[string]Port{
		":50051":             {"tcp", "0.0.0.0", 50051},
		":443":               {"tcp", "::", 443},
		"127.0.0.1:1":        {"tcp", "127.0.0.1", 1},
		"[::1]:65535":        {"tcp", "::1", 65535},
		"udp:53":             {"udp", "::", 53},
		"udp:127.0.0.53:53":  {"udp", "127.0.0.53", 53},
		"udp:[fe80::1]:5353": {"udp", "fe80::1", 5353},
	} {
		if got := p.String(); got != want {
			t.Errorf("%+v: %s, want %s", p, got, want)
		}
	}
}

func TestGPUNames(t *testing.T) {
	for path, want := range map[string]bool{
		"/dev/nvidia0": true, "/dev/nvidia17": true, "/dev/kfd": true, "/dev/dri/renderD128": true,
		"/dev/nvidiactl": false, "/dev/nvidia-uvm": false, "/dev/nvidia": false, "/dev/dri/card0": false,
		"/dev/dri/renderD": false, "/tmp/dev/nvidia0": false, "/dev/nvidia0 (deleted)": false, "/dev/kfd0": false,
	} {
		if isGPU(path) != want {
			t.Errorf("%s: %t", path, !want)
		}
	}
}
