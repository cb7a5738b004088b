@echo off
rem watchdog.bat BEAM_PID PYTHON_PID [WORKER_ID]
rem
rem Ends the process PYTHON_PID, with everything that it started, when BEAM_PID
rem dies. This is only another way to call
rem
rem     watchdog guard --parent-pid BEAM_PID --worker-pid PYTHON_PID --worker-id WORKER_ID
rem
rem In the environment, both in seconds ("2", "0.5"):
rem
rem     WATCHDOG_GRACE_PERIOD    from the stop signal to the kill
rem     WATCHDOG_CHECK_INTERVAL  between two checks, where the system does not tell
rem
rem The program is searched, as watchdog-windows-ARCH.exe or watchdog.exe, in the
rem folder of this script, in ..\bin and ..\bin\cross from there, in PATH and
rem where install.ps1 puts it. Without it, and for a wrong call: one line on
rem standard error and status 125, "not guarded", as from the program itself.
setlocal EnableExtensions DisableDelayedExpansion
if "%~1"=="/?" goto help
if "%~1"=="--help" goto help
if "%~2"=="" goto wrong
if not "%~4"=="" goto wrong

set ARCH=amd64
if /i "%PROCESSOR_ARCHITECTURE%"=="ARM64" set ARCH=arm64
if /i "%PROCESSOR_ARCHITEW6432%"=="ARM64" set ARCH=arm64

rem The program itself checks the numbers: it tells a wrong one in one line.
set MORE=
rem Not as an argument: a backslash at its end would take what follows along.
if not "%~3"=="" set "LEASH_WORKER_ID=%~3"
if not "%WATCHDOG_GRACE_PERIOD%"=="" set MORE=%MORE% "--grace=%WATCHDOG_GRACE_PERIOD%s"
if not "%WATCHDOG_CHECK_INTERVAL%"=="" set MORE=%MORE% "--poll-interval=%WATCHDOG_CHECK_INTERVAL%s"

set PROGRAM=
call :search "%~dp0."
call :search "%~dp0..\bin"
call :search "%~dp0..\bin\cross"
call :search_path watchdog-windows-%ARCH%.exe
call :search_path watchdog.exe
call :search "%LOCALAPPDATA%\Programs\leash\bin"
if "%PROGRAM%"=="" goto missing

"%PROGRAM%" guard "--parent-pid=%~1" "--worker-pid=%~2" %MORE%
exit /b %ERRORLEVEL%

:search
if not "%PROGRAM%"=="" exit /b 0
if exist "%~1\watchdog.exe" set "PROGRAM=%~1\watchdog.exe"
if exist "%~1\watchdog-windows-%ARCH%.exe" set "PROGRAM=%~1\watchdog-windows-%ARCH%.exe"
exit /b 0

:search_path
if not "%PROGRAM%"=="" exit /b 0
if not "%~$PATH:1"=="" set "PROGRAM=%~$PATH:1"
exit /b 0

:help
echo usage: watchdog.bat BEAM_PID PYTHON_PID [WORKER_ID]
exit /b 0

:wrong
echo watchdog.bat: usage: watchdog.bat BEAM_PID PYTHON_PID [WORKER_ID]>&2
exit /b 125

:missing
echo watchdog.bat: there is no watchdog.exe or watchdog-windows-%ARCH%.exe beside the script, in ..\bin, in PATH or in %LOCALAPPDATA%\Programs\leash\bin: the worker is not guarded>&2
exit /b 125
