# install.ps1 [-Prefix DIR] [-From DIR] [-Uninstall]
#
# Puts watchdog.exe, reaper.exe (both also as leash-watchdog.exe and leash-reaper.exe) and
# watchdog.bat into DIR\bin (%LOCALAPPDATA%\Programs\leash\bin). It needs no administrator, changes nothing
# else, and may be run again at any time.
#
#     -Prefix DIR  where to
#     -From DIR    a folder with the programs, named watchdog.exe or
#                  watchdog-windows-ARCH.exe (default: bin\ or bin\cross\ beside scripts\)
#     -Uninstall   remove them again
#
# A file of that name that is not ours is neither replaced nor removed. If there
# is a SHA256SUMS beside the programs, they must agree with it.
#
#     powershell -ExecutionPolicy Bypass -File scripts\install.ps1
[CmdletBinding()]
param(
    [string]$Prefix = (Join-Path $env:LOCALAPPDATA 'Programs\leash'),
    [string]$From = '',
    [switch]$Uninstall
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

function Stop-WithLine([string]$Line) {
    [Console]::Error.WriteLine("install.ps1: $Line")
    exit 1
}

# A program built from this module names its package; the script names itself.
function Test-Ours([string]$File) {
    $text = [Text.Encoding]::ASCII.GetString([IO.File]::ReadAllBytes($File))
    foreach ($mark in 'leash/cmd/watchdog', 'leash/cmd/reaper', 'rem watchdog.bat BEAM_PID') {
        if ($text.Contains($mark)) { return $true }
    }
    return $false
}

function Get-System {
    $arch = $env:PROCESSOR_ARCHITECTURE
    if ($env:PROCESSOR_ARCHITEW6432) { $arch = $env:PROCESSOR_ARCHITEW6432 }
    if ($arch -eq 'ARM64') { return 'windows-arm64' }
    return 'windows-amd64'
}

function Find-Program([string]$Name, [string[]]$Folders) {
    $system = Get-System
    foreach ($folder in $Folders) {
        foreach ($file in "$Name-$system.exe", "$Name.exe") {
            $path = Join-Path $folder $file
            if (Test-Path -LiteralPath $path -PathType Leaf) { return $path }
        }
    }
    Stop-WithLine "there is no $Name.exe or $Name-$system.exe in $($Folders[0]): build it first with make, or say -From DIR"
}

function Test-Sum([string]$File) {
    $list = Join-Path (Split-Path -Parent $File) 'SHA256SUMS'
    if (-not (Test-Path -LiteralPath $list)) { return }
    $name = Split-Path -Leaf $File
    foreach ($line in [IO.File]::ReadAllLines($list)) {
        $want, $of = $line -split '\s+\*?', 2
        if ($of -ne $name) { continue }
        if ((Get-FileHash -LiteralPath $File -Algorithm SHA256).Hash -ne $want) {
            Stop-WithLine "$File is not what SHA256SUMS beside it says: nothing was installed"
        }
    }
}

# A program that runs cannot be overwritten on Windows, but it can be renamed.
function Install-File([string]$Source, [string]$Name) {
    $target = Join-Path $bin $Name
    if (Test-Path -LiteralPath $target) {
        if ((Get-FileHash -LiteralPath $Source).Hash -eq (Get-FileHash -LiteralPath $target).Hash) {
            Write-Output "unchanged  $target"
            return
        }
        $old = "$target.old"
        Remove-Item -LiteralPath $old -Force -ErrorAction SilentlyContinue
        if (Test-Path -LiteralPath $old) { Stop-WithLine "$old still runs: end it first" }
        Move-Item -LiteralPath $target -Destination $old
    }
    Copy-Item -LiteralPath $Source -Destination $target
    Remove-Item -LiteralPath "$target.old" -Force -ErrorAction SilentlyContinue
    Write-Output "installed  $target"
}

function Install-All {
    $folders = @($From)
    if (-not $From) { $folders = @((Join-Path $PSScriptRoot '..\bin'), (Join-Path $PSScriptRoot '..\bin\cross')) }
    $watchdog = Find-Program 'watchdog' $folders
    $reaper = Find-Program 'reaper' $folders
    $sources = [ordered]@{
        'watchdog.exe'       = $watchdog
        'leash-watchdog.exe' = $watchdog
        'reaper.exe'         = $reaper
        'leash-reaper.exe'   = $reaper
        'watchdog.bat'       = Join-Path $PSScriptRoot 'watchdog.bat'
    }
    foreach ($name in $sources.Keys) {
        Test-Sum $sources[$name]
        $target = Join-Path $bin $name
        if ((Test-Path -LiteralPath $target) -and -not (Test-Ours $target)) {
            Stop-WithLine "$target is another program: nothing was installed"
        }
    }
    New-Item -ItemType Directory -Force -Path $bin | Out-Null
    foreach ($name in $sources.Keys) { Install-File $sources[$name] $name }
    if (($env:PATH -split ';') -contains $bin) {
        Write-Output "$bin is in PATH"
    } else {
        Write-Output "$bin is NOT in PATH; for new programs of yours: [Environment]::SetEnvironmentVariable('PATH', [Environment]::GetEnvironmentVariable('PATH', 'User') + ';$bin', 'User')"
    }
}

function Remove-All {
    foreach ($name in 'watchdog.exe', 'leash-watchdog.exe', 'reaper.exe', 'leash-reaper.exe', 'watchdog.bat') {
        $target = Join-Path $bin $name
        if (-not (Test-Path -LiteralPath $target)) {
            Write-Output "not there  $target"
        } elseif (Test-Ours $target) {
            Remove-Item -LiteralPath $target -Force
            Write-Output "removed    $target"
        } else {
            Write-Output "kept       $target, which is another program"
        }
    }
}

try {
    $Prefix = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Prefix)
    $bin = Join-Path $Prefix 'bin'
    if ($From -and -not (Test-Path -LiteralPath $From -PathType Container)) { Stop-WithLine "there is no folder $From" }
    if ($Uninstall) { Remove-All } else { Install-All }
} catch {
    Stop-WithLine $_.Exception.Message
}
